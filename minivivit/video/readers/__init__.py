"""One file for each kind of file that a clip comes in; `minivivit.video.reading` chooses among them."""
