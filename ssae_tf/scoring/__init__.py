"""From the network's answer to verdict: anomaly map, threshold, promise."""
