"""A linearizability checker: could a section that does one thing at a time have given these answers?"""
