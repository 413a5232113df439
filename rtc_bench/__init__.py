"""Does a way of executing action chunks survive inference delay? The pipeline that finds out."""
