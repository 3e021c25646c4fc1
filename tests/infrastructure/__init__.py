"""What runs around Seatline: the Ray cluster on EC2, the stacks, containers, monitoring. AWS is moto's server."""
