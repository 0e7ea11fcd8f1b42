package io.hydraopt.demo

import io.hydraopt.TaskSession
import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** No class of the library has the name of a class of Android that apps import everywhere. */
class NamesTest {
    @Test
    fun namesAreNotAndroids() {
        val place = TaskSession::class.java.protectionDomain.codeSource.location.path
        val names = File(place, "io/hydraopt").list()!!.filter { it.endsWith(".class") }
            .map { it.removeSuffix(".class") }.filter { '$' !in it }
        assertTrue("$names", names.size > 20)
        assertTrue(isAndroids("Bundle"))
        assertEquals(listOf<String>(), names.filter(::isAndroids))
    }

    private fun isAndroids(name: String) = PACKAGES.any {
        runCatching { Class.forName("android.$it.$name", false, javaClass.classLoader) }.isSuccess
    }

    private companion object {
        val PACKAGES = listOf("app", "content", "os", "util", "view", "widget")
    }
}
