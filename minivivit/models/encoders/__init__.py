"""The paper's four encoders, one file each: from pixels to tokens, and through the layers."""
