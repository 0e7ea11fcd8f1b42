package io.hydraopt

import java.io.Closeable
import java.util.concurrent.locks.ReentrantReadWriteLock
import kotlin.concurrent.withLock
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module

/** ExecuTorch's `Module` of a bundle, with readable errors. */
internal class Program private constructor(
    private val bundle: TaskBundle,
    private val module: Module
) : Closeable {
    private val methods = module.getMethods().toSet()

    /** Loads a method ahead of its first call. Throws [BundleException]. */
    fun load(method: String) {
        if (method !in methods) {
            throw BundleException("${bundle.program} has no method '$method'; export again")
        }
        gate.writeLock().withLock {
            inWords("load method $method of ${bundle.program}") { module.loadMethod(method) }
        }
    }

    /**
     * Calls a method and reads its results, which stay in native memory until its next call.
     *
     * @throws BundleException the method fails, or its results are none that [read] takes.
     */
    fun <T> execute(method: String, inputs: Array<EValue>, read: (Array<EValue>) -> T): T =
        gate.readLock().withLock {
            inWords("run method $method of ${bundle.program}") {
                read(module.execute(method, *inputs))
            }
        }

    override fun close() = module.close()

    companion object {
        /** Programs run side by side, but nothing is loaded meanwhile: all share the threads. */
        private val gate = ReentrantReadWriteLock(true)

        /**
         * Loads a bundle's program, between two calls of those that run.
         *
         * @param threads size of the process's thread pool, which every load resets; 0 for
         *   ExecuTorch's default.
         * @param freeMemory bytes that it may have; null does not compare them.
         * @throws BundleException ExecuTorch refuses it, or it takes its tasks from .ptd files.
         * @throws MemoryException it is larger than [freeMemory].
         */
        fun load(bundle: TaskBundle, threads: Int, freeMemory: Long?): Program {
            if (bundle.manifest.swap is Swap.Data) {
                throw BundleException(
                    "${bundle.directory} swaps .ptd files, which this library cannot load with a " +
                        "program; export with --swap inputs"
                )
            }
            Memory.check(bundle.program, freeMemory)
            val version = bundle.manifest.executorch
            return gate.writeLock().withLock {
                inWords("load ${bundle.program}, made with executorch $version") {
                    val path = bundle.program.path
                    Program(bundle, Module.load(path, Module.LOAD_MODE_MMAP, threads))
                }
            }
        }

        private inline fun <T> inWords(what: String, body: () -> T): T =
            try {
                body()
            } catch (error: HydraOptException) {
                throw error
            } catch (error: RuntimeException) {
                val reason = oneLine(error.message ?: "$error")
                throw BundleException(
                    "ExecuTorch cannot $what ($reason); export again with the version of the " +
                        "app, or copy the bundle again",
                    error
                )
            }
    }
}
