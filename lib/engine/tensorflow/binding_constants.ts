import { AttributeType, DataType } from "./data_type.ts";

/** What `TFJSBinding` has beside tensors and operations: its numbers for types, and saved models, which are refused. */
export class BindingConstants {
  readonly TF_FLOAT = DataType.float32;
  readonly TF_INT32 = DataType.int32;
  readonly TF_INT64 = DataType.int64;
  readonly TF_BOOL = DataType.bool;
  readonly TF_COMPLEX64 = DataType.complex64;
  readonly TF_STRING = DataType.string;
  readonly TF_RESOURCE = DataType.resource;
  readonly TF_UINT8 = DataType.uint8;
  readonly TF_ATTR_STRING = AttributeType.string;
  readonly TF_ATTR_INT = AttributeType.int;
  readonly TF_ATTR_FLOAT = AttributeType.float;
  readonly TF_ATTR_BOOL = AttributeType.bool;
  readonly TF_ATTR_TYPE = AttributeType.type;
  readonly TF_ATTR_SHAPE = AttributeType.shape;
  readonly TF_ATTR_RESOURCE = AttributeType.resource;

  loadSavedModel = refuseSavedModels;
  deleteSavedModel = refuseSavedModels;
  runSavedModel = refuseSavedModels;
  getNumOfSavedModels(): number {
    return 0;
  }
}

function refuseSavedModels(): never {
  throw new Error("Saved models are not supported by the engine");
}
