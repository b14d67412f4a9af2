"""Lists of labelled clips as people have them, one format a file, read into one form: `clip_list.ClipList`."""
