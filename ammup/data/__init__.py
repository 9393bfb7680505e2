"""Images and labels: sources, the cache of decoded images, minibatches."""
