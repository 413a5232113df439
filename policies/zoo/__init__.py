"""Small trained flow policies, one file per task, with their model cards in the header."""
