// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// solhint-disable one-contract-per-file

import {IAIOracleCallbackReceiver} from "../interfaces/IAIOracle.sol";
import {IInferenceOracle} from "../interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "../interfaces/IModelRegistry.sol";
import {IOraAdapter} from "../interfaces/IOraAdapter.sol";

/// @notice Takes any request and delivers when, what and with how much gas it is told.
contract StubOracle {
    IModelRegistry public immutable registry;
    uint256 private _ids;

    constructor(IModelRegistry registry_) {
        registry = registry_;
    }

    function requestBatchInference(
        uint256,
        uint256,
        bytes calldata,
        address,
        uint64,
        bytes calldata,
        uint8,
        uint8
    ) external payable returns (uint256) {
        return ++_ids;
    }

    function withdrawTo(address) external pure {
        revert IInferenceOracle.NothingToWithdraw();
    }

    function deliver(
        address adapter,
        uint256 gas,
        uint256 requestId,
        bytes calldata output,
        bytes calldata data
    ) external returns (bool succeeded) {
        (succeeded,) = adapter.call{gas: gas}(
            abi.encodeCall(
                IAIOracleCallbackReceiver.aiOracleCallback, (requestId, output, data)
            )
        );
    }
}

/// @notice Uses all of its gas but the last thousand, whoever asked.
contract CostlyReceiver {
    uint256 private constant LEFT = 1_000;

    function accept(IOraAdapter adapter, address requester) external {
        adapter.setAccepted(requester, true);
    }

    function aiOracleCallback(uint256, bytes calldata, bytes calldata) external view {
        while (gasleft() > LEFT) {}
    }
}
