"""Reads /metrics as strictly as OpenMetrics is meant; prints each sample by name and labels as JSON."""

import json
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

with open(sys.argv[1], encoding="utf-8") as file:
    url = f"http://{json.load(file)['http']}/metrics"
with urllib.request.urlopen(url, timeout=30) as answer:
    assert answer.headers["content-type"].startswith("application/openmetrics-text"), answer.headers
    text = answer.read().decode()
samples = {}
for family in text_string_to_metric_families(text):
    for sample in family.samples:
        # How it ended or the bucket's bound first, then whose it is.
        labels = [sample.labels.get(key) for key in ("end", "le", "state", "function", "version")]
        samples[" ".join([sample.name, *filter(None, labels)])] = sample.value
print(json.dumps(samples))
