package org.pytorch.executorch

/** Stand-in: what native code reports. */
open class ExecutorchRuntimeException(val errorCode: Int, details: String?) :
    RuntimeException("[ExecuTorch Error 0x${Integer.toHexString(errorCode)}] $details") {

    class ExecutorchInvalidArgumentException(details: String?) :
        ExecutorchRuntimeException(INVALID_ARGUMENT, details)

    companion object {
        const val INVALID_ARGUMENT = 0x12

        @JvmStatic
        fun makeExecutorchException(errorCode: Int, details: String?): RuntimeException {
            val log = Module.readLogBufferStatic()?.lastOrNull()?.let { " | nativeLog=$it" } ?: ""
            return when (errorCode) {
                INVALID_ARGUMENT -> ExecutorchInvalidArgumentException("$details$log")
                else -> ExecutorchRuntimeException(errorCode, "$details$log")
            }
        }
    }
}
