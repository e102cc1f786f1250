"""How the command ends; stopped by a signal as shells tell it."""

GO, ERROR, NO_GO, STOPPED = 0, 1, 3, 130
