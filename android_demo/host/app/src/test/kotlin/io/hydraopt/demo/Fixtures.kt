package io.hydraopt.demo

import io.hydraopt.host.HostLibrary
import java.io.File
import java.io.RandomAccessFile
import java.nio.file.Files
import java.util.Base64

/** What tests/android_build.py made for this run: bundles, and what Python answers. */
object Fixtures {
    private val root = File(System.getProperty("fixtures"))
    private val decoder = Base64.getDecoder()

    init {
        HostLibrary.install()
    }

    fun bundle(name: String): File = File(root, name)

    /** Tasks, prompts and Python's answers, of the zoo or of the slow bundle. */
    fun answers(name: String): List<Asked> = File(root, "$name-answers.txt").readLines().map {
        val (task, prompt, answer) = it.split(' ').map { word -> String(decoder.decode(word)) }
        Asked(task, prompt, answer)
    }

    /** A copy that a test may change. */
    fun copied(name: String, parent: File, to: String = name): File {
        val target = File(parent, to)
        bundle(name).copyRecursively(target)
        return target
    }

    fun linked(name: String, parent: File, to: String = name) {
        parent.mkdirs()
        Files.createSymbolicLink(File(parent, to).toPath(), bundle(name).toPath())
    }

    /** Takes the last byte away, as an interrupted push does with more of them. */
    fun cut(file: File) = RandomAccessFile(file, "rw").use { it.setLength(file.length() - 1) }

    fun flip(file: File) = RandomAccessFile(file, "rw").use {
        it.seek(100)
        val byte = it.read()
        it.seek(100)
        it.write(byte xor 1)
    }
}

data class Asked(val task: String, val prompt: String, val answer: String)

/** [fit] becomes true while [step] is called again and again. */
fun await(what: String, step: () -> Unit, fit: () -> Boolean) {
    val end = System.nanoTime() + 60_000_000_000
    while (!fit()) {
        check(System.nanoTime() < end) { "this did not happen: $what" }
        step()
    }
}
