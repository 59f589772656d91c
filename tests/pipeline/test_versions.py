"""Fingerprints of all stages under the default options: another value makes every stored row one of another version."""

from __future__ import annotations

from types import SimpleNamespace

from dupelake.config import Config, EmbedConfig
from dupelake.fingerprint.hashing import hash_version
from dupelake.group.touched_stage import cluster_version
from dupelake.pipeline.lsh_join import current_versions
from dupelake.verify.decide_stage import decide_version
from dupelake.verify.stage import verify_version
from dupelake.words.vocabulary import feature_version

cfg = Config()
v = current_versions(SimpleNamespace(config=Config(embed=EmbedConfig(model="none"))))
print(hash_version(cfg), feature_version(cfg), verify_version(feature_version(cfg)), decide_version(cfg.decide), cluster_version(cfg), v.keys, v.join, v.hash, v.features, v.verify)
