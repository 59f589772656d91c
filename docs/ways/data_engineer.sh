#!/usr/bin/env bash
# data_engineer
#
# text
set -eu
