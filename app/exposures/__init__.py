"""Who was shown which variant, and where every event of exposure went."""
