"""index.html in the folder of the results: what happened, every figure and table, and where it all comes from.

One file that opens without a network. Nothing is computed here: modules select what the files of the results say and
put it into the templates beside them. Imports no torch.
"""
