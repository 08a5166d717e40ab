exports.inferenceLensAbi = require("./InferenceLens.json");
