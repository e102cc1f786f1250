"""Clusters and surfaces from ASE's tools."""
