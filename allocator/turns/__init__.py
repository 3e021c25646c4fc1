"""One actor at work: its inbox, the sections that it holds, and the turns in which it decides and commits."""
