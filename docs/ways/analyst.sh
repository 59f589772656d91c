#!/usr/bin/env bash
# analyst
#
# text
set -eu
