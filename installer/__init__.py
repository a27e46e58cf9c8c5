"""Sets Brushcast up and starts it: `python3 -m installer run | test | setup | doctor`. Standard
library only."""
