"""What bridges are measured with: the children behind them, the bridges of others, and clients."""
