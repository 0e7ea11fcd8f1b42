package io.hydraopt.demo

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** What is measured. */
class FiguresTest {
    @Test
    fun ofFewSwitchesTheFastestAndTheSlowestAreShown() {
        assertEquals(listOf(1.0, 2.5, 4.0), shown(listOf(4.0, 1.0, 3.0, 2.0)))
        assertEquals(listOf(7.0, 7.0, 7.0), shown(listOf(7.0)))
        assertEquals(listOf(null, null, null), shown(listOf()))
    }

    @Test
    fun ofManySwitchesPercentilesAreTheProfilers() {
        assertEquals(listOf(6.0, 51.0, 96.0), shown(List(101) { 101.0 - it }))
    }

    private fun shown(switches: List<Double>) =
        Figures(switches).run { listOf(switchLow, switchMedian, switchHigh) }

    @Test
    fun memoryIsWhatTheKernelTells() {
        assertTrue(ProcessMemory.pss() > 10_000_000)
    }
}
