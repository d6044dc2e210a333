"""A small network whose row and head are counted by hand."""

CNN = {"width": 4, "hidden": 16, "batch_norm": True}
CNN_ROW = (4 * 75 + 4) + 2 * 4 + (8 * 100 + 8) + 2 * 8 + (8 * 16 + 16) + (16 * 4 + 4)
CNN_HEAD = (8 * 16 + 16) + (16 * 4 + 4)
