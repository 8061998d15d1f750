"""The embedded event log: durable, ordered per partition, Arrow on disk, for any number of processes at once."""

from __future__ import annotations

from thalweg.log.appended import Appended, AppendResult, RejectedRow
from thalweg.log.options import Drift, TopicOptions
from thalweg.log.store import Log
from thalweg.log.survey import Damage, PartitionInfo, TopicInfo
from thalweg.log.topic import Topic
from thalweg.log.topic_reader import TopicReader
from thalweg.log.upkeep import Maintained

__all__ = [
    "AppendResult",
    "Appended",
    "Damage",
    "Drift",
    "Log",
    "Maintained",
    "PartitionInfo",
    "RejectedRow",
    "Topic",
    "TopicInfo",
    "TopicOptions",
    "TopicReader",
]
