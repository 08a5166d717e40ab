// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

import {InferenceConsumer} from "@verifiable-inference/contracts/InferenceConsumer.sol";
import {IInferenceOracle} from "@verifiable-inference/contracts/interfaces/IInferenceOracle.sol";
import {TensorCodec} from "@verifiable-inference/contracts/libraries/TensorCodec.sol";

contract Gardener is InferenceConsumer {
    uint256 public constant MODEL = 1;
    uint64 public constant CALLBACK_GAS = 60_000;
    uint256 public constant OUTPUT_WIDTH = 8; // bytes a score, from the registry

    mapping(uint256 requestId => bool) public isSetosa;

    constructor(IInferenceOracle oracle_) InferenceConsumer(oracle_) {}

    function ask(bytes calldata measurements) external payable returns (uint256 requestId) {
        // What is not spent, or all of it if nobody answers within the hour, is the caller's credit.
        return oracle.request{value: msg.value}(
            MODEL, measurements, address(this), CALLBACK_GAS, "", msg.sender,
            uint64(block.timestamp + 1 hours)
        );
    }

    function _onResult(uint256 requestId, bytes calldata output, bytes calldata) internal override {
        int256[] memory scores = TensorCodec.unpack(output, OUTPUT_WIDTH);
        isSetosa[requestId] = scores[0] > scores[1] && scores[0] > scores[2];
    }
}
