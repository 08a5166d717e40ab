// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

import {IAIOracleCallbackReceiver} from "../interfaces/IAIOracle.sol";

// solhint-disable one-contract-per-file

/// @notice A smart account that anybody may steer, and a consumer with a mood.
contract Actor is IAIOracleCallbackReceiver {
    enum Mood {
        Content,
        Reverting,
        Burning,
        BombingReturn,
        BombingRevert,
        Meddling,
        Hungry
    }

    uint256 private constant BOMB = 100_000;
    uint256 private constant HUNGER = 2_800_000;
    bytes4 private constant ERC1271_MAGIC = 0x1626ba7e;

    Mood public mood;
    bool public refusesMoney;
    uint256 public deliveries;
    /// @notice keccak256 of the last output and callback data, by request.
    mapping(uint256 requestId => bytes32) public received;

    address private _target;
    uint256 private _value;
    bytes private _call;

    event Meddled(bool success);

    error Grudge();

    receive() external payable {
        if (refusesMoney) revert Grudge();
        if (mood == Mood.Meddling) _meddle();
    }

    /// @notice Be in this mood from now on; when meddling, make this call.
    function feel(Mood mood_, bool refusesMoney_, address target, uint256 value, bytes calldata call)
        external
    {
        mood = mood_;
        refusesMoney = refusesMoney_;
        _target = target;
        _value = value;
        _call = call;
    }

    /// @notice Call `target` as this account.
    function perform(address target, bytes calldata call) external payable returns (bytes memory) {
        (bool success, bytes memory answer) = target.call{value: msg.value}(call);
        if (!success) {
            assembly ("memory-safe") { revert(add(answer, 32), mload(answer)) }
        }
        return answer;
    }

    function aiOracleCallback(uint256 requestId, bytes calldata output, bytes calldata data)
        external
    {
        uint256 gasAtStart = gasleft();
        ++deliveries;
        received[requestId] = keccak256(abi.encode(output, data));
        if (mood == Mood.Reverting) revert Grudge();
        while (mood == Mood.Burning) {}
        // Enough to fail for want of gas while the caller, with 1/64 of it, could still go on.
        while (mood == Mood.Hungry && gasAtStart - gasleft() < HUNGER) {}
        if (mood == Mood.BombingReturn) {
            assembly { return(0, BOMB) }
        }
        if (mood == Mood.BombingRevert) {
            assembly { revert(0, BOMB) }
        }
        if (mood == Mood.Meddling) _meddle();
    }

    /// @notice ERC-1271: signs by repeating the hash.
    function isValidSignature(bytes32 hash, bytes calldata signature) external pure returns (bytes4) {
        return signature.length == 32 && bytes32(signature) == hash ? ERC1271_MAGIC : bytes4(0);
    }

    function _meddle() private {
        bytes memory call = _call;
        // Whatever the call burns, enough is left to tell of it.
        uint256 left = gasleft();
        uint256 granted = left > 40_000 ? left - 20_000 : 0;
        (bool success,) = _target.call{value: _value, gas: granted}(call);
        emit Meddled(success);
    }
}

/// @notice A token that may keep a part of every transfer, and may return nothing, as some do.
contract ModelToken is ERC20 {
    uint256 private immutable _keptBps;
    bool private immutable _silent;

    constructor(uint256 keptBps, bool silent) ERC20("Model token", "MT") {
        _keptBps = keptBps;
        _silent = silent;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        super.transfer(to, amount);
        return _answer();
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        super.transferFrom(from, to, amount);
        return _answer();
    }

    function _update(address from, address to, uint256 amount) internal override {
        uint256 kept = from == address(0) ? 0 : amount * _keptBps / 10_000;
        super._update(from, to, amount - kept);
        if (kept != 0) super._update(from, address(0), kept);
    }

    function _answer() private view returns (bool) {
        if (_silent) {
            assembly { return(0, 0) }
        }
        return true;
    }
}
