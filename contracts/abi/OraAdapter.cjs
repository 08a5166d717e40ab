exports.oraAdapterAbi = require("./OraAdapter.json");
