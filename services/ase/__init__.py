"""Clusters and surfaces: cut from known compounds, packed at random or of molecules; atoms, dimers and trimers."""
