"""What the OBS script is made of. OBS loads `brushcast_obs.py` anew whenever it is reloaded; these
modules stay, with the callbacks that libobs keeps pointers to. Python 3.10, stdlib and ctypes."""
