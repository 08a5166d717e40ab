exports.modelRegistryAbi = require("./ModelRegistry.json");
