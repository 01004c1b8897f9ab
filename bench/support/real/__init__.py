"""Training on all the real roofs that lie beside the checkout, and scoring on hidden ones."""
