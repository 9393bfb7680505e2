"""Parts of the comparison of ways to find a learning rate: users' recipes, their stored runs, and the methods."""
