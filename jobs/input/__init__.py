"""Reading rows: files of any format, cut into parts."""
