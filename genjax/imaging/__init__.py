"""What models do for pictures: degradations, and the applications that undo them."""
