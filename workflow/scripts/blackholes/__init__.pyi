from blackholes.results import open as open
