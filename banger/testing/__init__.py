"""What third parties test with: fakes of the host seams and the contracts that they and real ones pass."""
