"""The colours of all figures, by Okabe and Ito: colour-blind readers can distinguish them."""

BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
BLACK, SILVER, ORANGE, SKY, PURPLE = "#000000", "#999999", "#E69F00", "#56B4E9", "#CC79A7"
