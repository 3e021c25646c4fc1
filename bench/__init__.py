"""The benchmark suite: Seatline against its peers. It may import everything; the product does not import it."""
