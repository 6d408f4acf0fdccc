"""What ``make bench`` measures and how; ``python -m benchmarks --help`` lists its options. Not part of the package."""
