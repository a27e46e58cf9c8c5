"""Networks: weights and arithmetic only.  They import torch and nothing of ours; no stream state
lives on a module.
"""
