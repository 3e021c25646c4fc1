"""The composition roots: what each process is made of, and how processes are started and found."""
