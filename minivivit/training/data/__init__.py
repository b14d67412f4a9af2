"""Where clips come from: folders of one's own, and the motion data made here."""
