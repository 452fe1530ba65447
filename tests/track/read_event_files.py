"""Prints what TensorBoard reads of a folder of event files, as JSON by run: scalars, and settings.

Usage: python read_event_files.py FOLDER
"""

import json
import sys

from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata

reader = EventMultiplexer(size_guidance={"scalars": 0, "tensors": 0})
reader.AddRunsFromDirectory(sys.argv[1])
reader.Reload()
runs = {}
for run, tags in reader.Runs().items():
    accumulator = reader.GetAccumulator(run)
    scalars = {}
    for tag in tags["scalars"]:
        scalars[tag] = [
            [event.wall_time, event.step, event.value] for event in accumulator.Scalars(tag)
        ]
    for tag in tags["tensors"]:
        plugin = accumulator.SummaryMetadata(tag).plugin_data.plugin_name
        if plugin == "scalars":
            scalars[tag] = [
                [event.wall_time, event.step, event.tensor_proto.float_val[0]]
                for event in accumulator.Tensors(tag)
            ]
    content = accumulator.PluginTagToContent("hparams")
    started = metadata.parse_session_start_info_plugin_data(
        content["_hparams_/session_start_info"]
    )
    settings = {}
    for name, value in started.hparams.items():
        settings[name] = getattr(value, value.WhichOneof("kind"))
    runs[run] = {"scalars": scalars, "settings": settings}
print(json.dumps(runs))
