#!/usr/bin/env bash
# seen_before
#
# text
set -eu
