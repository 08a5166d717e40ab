// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {
    MockInferenceOracle
} from "@verifiable-inference/contracts/mocks/MockInferenceOracle.sol";

/// @notice The mock as a contract of this project: Ape and Hardhat deploy only those.
contract TestOracle is MockInferenceOracle {}
