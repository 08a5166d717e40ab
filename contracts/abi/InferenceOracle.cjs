exports.inferenceOracleAbi = require("./InferenceOracle.json");
