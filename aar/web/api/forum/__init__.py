"""The forum under the API."""
