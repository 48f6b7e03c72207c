"""What files of weights are made of, whatever the names in them."""
