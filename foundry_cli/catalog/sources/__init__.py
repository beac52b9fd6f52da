"""One module per place that models are known from, all behind `base.CatalogSource`."""
